{{ config(
    unique_key=['shipment_id'],
    meta={'affected_by': [
        {'source': 'shipments'},
        {'ref': 'silver_orders', 'flag': 'has_known_order'}
    ]}
) }}

with latest as (
    select * from {{ source('bronze', 'shipments') }}
    where {{ is_affected() }}
    qualify {{ is_latest('shipments') }}
)

select
    latest.shipment_id,
    latest.order_id,
    upper({{ clean_text('latest.carrier') }}) as carrier,
    latest.shipped_at,
    latest.delivered_at,
    latest.ship_dt,
    latest.ship_cost,
    orders.order_id is not null as has_known_order,
    coalesce(latest.delivered_at >= latest.shipped_at, latest.delivered_at is null) as is_valid_delivery,
    coalesce(latest.ship_cost >= 0, false) as is_valid_cost,
    latest._batch_id,
    {{ this_revision() }} as _revision
from latest
left join {{ ref('silver_orders') }} as orders using (order_id)
