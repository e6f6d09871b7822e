with sold as (
    select
        store_key,
        cast(date_trunc('month', date) as date) as month,
        count(distinct order_id) as orders,
        count(distinct order_id) filter (net_aud is not null) as rated_orders,
        cast(sum(quantity) as bigint) as units,
        cast(sum(net_aud) as decimal(28, 4)) as net_aud
    from {{ ref('fct_sales') }}
    group by all
),

returned as (
    select
        store_key,
        cast(date_trunc('month', order_date) as date) as month,
        cast(sum(quantity) filter (is_valid_quantity) as bigint) as units_returned
    from {{ ref('fct_returns') }}
    where order_date is not null
    group by all
),

compared as (
    select
        *,
        -- Against the month before, not against the last month with a sale.
        max(net_aud) over (
            partition by store_key order by month
            range between interval 1 month preceding and interval 1 month preceding
        ) as net_aud_month_before
    from sold
)

select
    compared.month,
    stores.store_id,
    stores.name as store,
    stores.channel as kind_of_store,
    stores.region,
    stores.state,
    compared.orders,
    compared.units,
    compared.net_aud,
    {{ aud_per('compared.net_aud', 'compared.rated_orders') }} as net_aud_per_order,
    compared.net_aud_month_before,
    round(100 * (compared.net_aud / nullif(compared.net_aud_month_before, 0) - 1), 1) as growth_pct,
    coalesce(returned.units_returned, 0) as units_returned,
    round(100 * coalesce(returned.units_returned, 0) / nullif(compared.units, 0), 1) as return_rate_pct
from compared
join {{ ref('dim_store') }} as stores using (store_key)
left join returned using (store_key, month)
