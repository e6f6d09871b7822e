{{ config(
    unique_key=['order_id', 'line_number'],
    meta={'affected_by': [
        {'source': 'order_lines'},
        {'ref': 'silver_orders', 'flag': 'has_known_order'},
        {'ref': 'silver_products', 'flag': 'has_known_product'}
    ]}
) }}

with latest as (
    select * from {{ source('bronze', 'order_lines') }}
    where {{ is_affected() }}
    qualify {{ is_latest('order_lines') }}
)

select
    latest.order_id,
    latest.line_number,
    latest.product_id,
    latest.qty as quantity,
    latest.unit_price,
    latest.line_discount_pct,
    latest.tax_pct,
    latest.line_dt,
    orders.order_id is not null as has_known_order,
    products.product_id is not null as has_known_product,
    coalesce(latest.qty > 0, false) as is_valid_quantity,
    coalesce(latest.unit_price > 0, false) as is_valid_price,
    coalesce(latest.line_discount_pct between 0 and 1, false) as is_valid_discount,
    coalesce(latest.tax_pct between 0 and 1, false) as is_valid_tax,
    latest._batch_id,
    {{ this_revision() }} as _revision
from latest
left join {{ ref('silver_orders') }} as orders using (order_id)
left join {{ ref('silver_products') }} as products using (product_id)
