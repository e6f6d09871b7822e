{{ config(
    unique_key=['shipment_id'],
    meta={'affected_by': [{'ref': 'silver_shipments'}, {'ref': 'silver_orders'}]}
) }}

with shipments as (
    select * from {{ ref('silver_shipments') }}
    where {{ is_affected() }}
)

select
    {{ surrogate_key(['shipments.shipment_id']) }} as shipment_key,
    shipments.shipment_id,
    shipments.ship_dt as date,
    shipments.order_id,
    orders.order_dt_local as order_date,
    shipments.carrier,
    shipments.shipped_at,
    shipments.delivered_at,
    shipments.ship_cost as ship_cost_aud,
    shipments.delivered_at is not null as is_delivered,
    date_diff('day', {{ utc_day('shipments.shipped_at') }}, {{ utc_day('shipments.delivered_at') }}) as delivery_days,
    shipments.has_known_order,
    shipments.is_valid_delivery,
    greatest(shipments._batch_id, orders._batch_id) as _batch_id,
    {{ this_revision() }} as _revision
from shipments
left join {{ ref('silver_orders') }} as orders using (order_id)
