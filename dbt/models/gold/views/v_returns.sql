-- What was paid for a unit of that product in that order; more lines than one may have it.
with paid as (
    select order_id, product_id, sum(net_aud) as net_aud, sum(quantity) as quantity
    from {{ ref('fct_sales') }}
    where is_valid_quantity
    group by all
)

select
    returns.date,
    returns.return_id,
    returns.order_id,
    returns.order_date,
    returns.days_after_order,
    returns.customer_id,
    returns.product_id,
    products.name as product,
    products.category,
    stores.name as store,
    stores.region,
    returns.reason,
    returns.quantity,
    -- Nobody is paid back for more than was bought.
    case when returns.is_valid_quantity then
        {{ aud_per('least(returns.quantity, paid.quantity) * paid.net_aud', 'paid.quantity') }}
    end as net_aud
from {{ ref('fct_returns') }} as returns
join {{ ref('dim_product') }} as products using (product_key)
join {{ ref('dim_store') }} as stores using (store_key)
left join paid on returns.order_id = paid.order_id and returns.product_id = paid.product_id
