select
    sales.date,
    sales.order_id,
    sales.line_number,
    sales.channel,
    sales.payment_method,
    sales.coupon_code,
    sales.customer_id,
    customers.segment as customer_segment,
    customers.country_code as customer_country,
    sales.product_id,
    products.name as product,
    products.category,
    products.subcategory,
    sales.store_id,
    stores.name as store,
    stores.region,
    stores.state,
    sales.quantity,
    sales.currency,
    sales.unit_price,
    sales.gross,
    sales.discount,
    sales.net,
    sales.tax,
    sales.net_aud
from {{ ref('fct_sales') }} as sales
join {{ ref('dim_customer') }} as customers using (customer_key)
join {{ ref('dim_product') }} as products using (product_key)
join {{ ref('dim_store') }} as stores using (store_key)
