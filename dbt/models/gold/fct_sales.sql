{{ config(
    unique_key=['order_id', 'line_number'],
    meta={'affected_by': [
        {'ref': 'silver_order_lines'},
        {'ref': 'silver_orders'},
        {'ref': 'dim_product', 'unless': "input.product_key = this.product_key and input.product_key <> -1
            and this.date >= input.valid_from and this.date < coalesce(input.valid_to, date '9999-12-31')"},
        {'ref': 'silver_customers', 'flag': 'has_known_customer'},
        {'ref': 'dim_store', 'flag': 'has_known_store'},
        {'ref': 'silver_exchange_rates', 'on': "this.currency = upper(trim(changed.currency)) and this.currency <> 'AUD'
            and this.date >= changed.date and coalesce(this.rate_date, changed.date) <= changed.date"}
    ]}
) }}

with lines as (
    select * from {{ ref('silver_order_lines') }}
    where {{ is_affected() }}
),

orders as (
    select * from {{ ref('silver_orders') }}
    where {{ is_affected(['order_id']) }}
),

-- A line whose header never came is a sale all the same: its day is that of its file, its currency taken to be AUD.
sales as (
    select
        lines.*,
        coalesce(orders.order_dt_local, lines.line_dt) as date,
        orders.order_ts,
        orders.customer_id,
        orders.store_id,
        orders.channel,
        orders.payment_method,
        orders.coupon_code,
        case when orders.order_id is null then 'AUD' else orders.currency end as currency,
        greatest(lines._batch_id, orders._batch_id) as newest_batch_id
    from lines
    left join orders using (order_id)
),

-- Decimal arithmetic throughout: round() on decimals is half away from zero, and nothing is lost before it.
grossed as (
    select *, cast(quantity * unit_price as decimal(28, 4)) as gross
    from sales
),

discounted as (
    select *, cast(round(gross * line_discount_pct, 4) as decimal(28, 4)) as discount
    from grossed
),

netted as (
    select *, cast(gross - discount as decimal(24, 4)) as net
    from discounted
),

rates as (
    select date, upper(trim(currency)) as currency, rate_to_aud from {{ ref('silver_exchange_rates') }}
    -- AUD needs no rate, and the rates of AUD to itself in the source are not all 1.
    where is_valid_rate and upper(trim(currency)) <> 'AUD'
    -- Spelt in two ways on one day: the one that came last.
    qualify row_number() over (
        partition by date, upper(trim(currency)) order by _batch_id desc, currency desc
    ) = 1
),

-- Of each day and currency, not of each line: an ASOF join sorts and holds all it is given.
rates_of_days as (
    select days.date, days.currency, rates.date as rate_date, rates.rate_to_aud
    from (select distinct order_dt_local as date, currency from {{ ref('silver_orders') }}) as days
    asof join rates on days.currency = rates.currency and days.date >= rates.date
),

converted as (
    select
        netted.*,
        rates.rate_date,
        case when netted.currency = 'AUD' then 1 else rates.rate_to_aud end as rate_to_aud,
        case
            when not netted.has_known_order then 'assumed'
            when netted.currency = 'AUD' then 'identity'
            when rates.rate_date is null then 'missing'
            when rates.rate_date = netted.date then 'day'
            else 'last_known'
        end as rate_source
    from netted
    left join rates_of_days as rates on netted.currency = rates.currency and netted.date = rates.date
)

select
    {{ surrogate_key(['converted.order_id', 'converted.line_number']) }} as sale_key,
    converted.date,
    converted.order_id,
    converted.line_number,
    case
        when customers.customer_id is null then {{ unknown_key() }}
        else {{ surrogate_key(['customers.customer_id']) }}
    end as customer_key,
    coalesce(products.product_key, {{ unknown_key() }}) as product_key,
    coalesce(stores.store_key, {{ unknown_key() }}) as store_key,
    converted.customer_id,
    converted.product_id,
    converted.store_id,
    converted.order_ts,
    converted.channel,
    converted.payment_method,
    converted.coupon_code,
    converted.currency,
    converted.quantity,
    converted.unit_price,
    converted.line_discount_pct,
    converted.tax_pct,
    converted.gross,
    converted.discount,
    converted.net,
    cast(round(converted.net * converted.tax_pct, 4) as decimal(28, 4)) as tax,
    cast(round(converted.net * cast(converted.rate_to_aud as decimal(14, 8)), 4) as decimal(28, 4)) as net_aud,
    converted.rate_date,
    cast(converted.rate_to_aud as decimal(18, 8)) as rate_to_aud,
    converted.rate_source,
    converted.has_known_order,
    customers.customer_id is not null as has_known_customer,
    products.product_key is not null as has_known_product,
    stores.store_key is not null as has_known_store,
    converted.is_valid_quantity,
    converted.is_valid_price,
    converted.newest_batch_id as _batch_id,
    {{ this_revision() }} as _revision
from converted
-- Not dim_customer: that one sums up what is sold here. The key is a function of the id.
left join {{ ref('silver_customers') }} as customers on converted.customer_id = customers.customer_id
left join {{ ref('dim_store') }} as stores
    on converted.store_id = stores.store_id and stores.store_key <> -1
left join {{ ref('dim_product') }} as products
    on converted.product_id = products.product_id and products.product_key <> -1
    and converted.date >= products.valid_from and converted.date < coalesce(products.valid_to, date '9999-12-31')
