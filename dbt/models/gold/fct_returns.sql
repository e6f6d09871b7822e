{{ config(
    unique_key=['return_id'],
    meta={'affected_by': [
        {'ref': 'silver_returns'},
        {'ref': 'silver_orders'},
        {'ref': 'dim_product', 'unless': "input.product_key = this.product_key and input.product_key <> -1
            and coalesce(this.order_date, this.date) >= input.valid_from
            and coalesce(this.order_date, this.date) < coalesce(input.valid_to, date '9999-12-31')"},
        {'ref': 'silver_customers', 'flag': 'has_known_customer'},
        {'ref': 'dim_store', 'flag': 'has_known_store'}
    ]}
) }}

with returned as (
    select
        returns.*,
        orders.order_dt_local as order_date,
        {{ utc_day('orders.order_ts') }} as order_day,
        orders.customer_id,
        orders.store_id,
        greatest(returns._batch_id, orders._batch_id) as newest_batch_id
    from {{ ref('silver_returns') }} as returns
    left join {{ ref('silver_orders') }} as orders using (order_id)
    where {{ is_affected() }}
)

select
    {{ surrogate_key(['returned.return_id']) }} as return_key,
    returned.return_id,
    returned.return_dt as date,
    returned.order_id,
    returned.order_date,
    case
        when customers.customer_id is null then {{ unknown_key() }}
        else {{ surrogate_key(['customers.customer_id']) }}
    end as customer_key,
    coalesce(products.product_key, {{ unknown_key() }}) as product_key,
    coalesce(stores.store_key, {{ unknown_key() }}) as store_key,
    returned.customer_id,
    returned.product_id,
    returned.store_id,
    returned.return_ts,
    returned.quantity,
    returned.reason,
    date_diff('day', returned.order_day, returned.return_dt) as days_after_order,
    returned.has_known_order,
    customers.customer_id is not null as has_known_customer,
    products.product_key is not null as has_known_product,
    stores.store_key is not null as has_known_store,
    returned.is_valid_quantity,
    returned.newest_batch_id as _batch_id,
    {{ this_revision() }} as _revision
from returned
-- Not dim_customer: that one sums up what is sold here. The key is a function of the id.
left join {{ ref('silver_customers') }} as customers on returned.customer_id = customers.customer_id
left join {{ ref('dim_store') }} as stores
    on returned.store_id = stores.store_id and stores.store_key <> -1
-- The version that was sold, or without a known order the one at the time of the return.
left join {{ ref('dim_product') }} as products
    on returned.product_id = products.product_id and products.product_key <> -1
    and coalesce(returned.order_date, returned.return_dt) >= products.valid_from
    and coalesce(returned.order_date, returned.return_dt) < coalesce(products.valid_to, date '9999-12-31')
