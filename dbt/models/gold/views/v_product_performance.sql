with sold as (
    select
        products.product_id,
        count(distinct sales.order_id) as orders,
        cast(sum(sales.quantity) as bigint) as units,
        cast(sum(sales.net_aud) as decimal(28, 4)) as net_aud,
        min(sales.date) as first_sold,
        max(sales.date) as last_sold
    from {{ ref('fct_sales') }} as sales
    join {{ ref('dim_product') }} as products using (product_key)
    group by all
),

returned as (
    select products.product_id, cast(sum(returns.quantity) filter (returns.is_valid_quantity) as bigint) as units_returned
    from {{ ref('fct_returns') }} as returns
    join {{ ref('dim_product') }} as products using (product_key)
    group by all
),

-- A product that was deleted is shown as it was last; one whose next price is announced, as it is today.
newest as (
    select *, count(*) over (partition by product_id) - 1 as changes
    from {{ ref('dim_product') }}
    qualify row_number() over (partition by product_id order by valid_from <= {{ utc_day('now()') }} desc, valid_from desc) = 1
)

select
    newest.product_id,
    newest.name as product,
    newest.category,
    newest.subcategory,
    newest.list_price,
    newest.currency,
    newest.changes,
    coalesce(sold.orders, 0) as orders,
    coalesce(sold.units, 0) as units,
    sold.net_aud,
    sold.first_sold,
    sold.last_sold,
    coalesce(returned.units_returned, 0) as units_returned,
    round(100 * coalesce(returned.units_returned, 0) / nullif(sold.units, 0), 1) as return_rate_pct
from newest
left join sold using (product_id)
left join returned using (product_id)
-- A return may come before the sale it belongs to.
where sold.product_id is not null or returned.product_id is not null
