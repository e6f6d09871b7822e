{{ config(
    unique_key=['return_id'],
    meta={'affected_by': [
        {'source': 'returns'},
        {'ref': 'silver_orders', 'flag': 'has_known_order'},
        {'ref': 'silver_products', 'flag': 'has_known_product'}
    ]}
) }}

with latest as (
    select * from {{ source('bronze', 'returns') }}
    where {{ is_affected() }}
    qualify {{ is_latest('returns') }}
)

select
    latest.return_id,
    latest.order_id,
    latest.product_id,
    latest.return_ts,
    latest.return_dt,
    latest.qty as quantity,
    {{ clean_text('latest.reason') }} as reason,
    orders.order_id is not null as has_known_order,
    products.product_id is not null as has_known_product,
    coalesce(latest.qty > 0, false) as is_valid_quantity,
    latest._batch_id,
    {{ this_revision() }} as _revision
from latest
left join {{ ref('silver_orders') }} as orders using (order_id)
left join {{ ref('silver_products') }} as products using (product_id)
