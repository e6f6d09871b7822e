{{ config(
    unique_key=['shipment_id'],
    meta={'affected_by': [{'ref': 'silver_shipments'}, {'ref': 'silver_orders'}]}
) }}
{#- What we promise our customers, in days from leaving to arriving. Express carriers are paid to be faster; the others
    brought 9 parcels of 10 within 5 days in March 2024. #}
{%- set promised_days = {'DHL': 3, 'STARTRACK': 3} %}
{%- set promised_days_of_others = 5 %}

with shipments as (
    select
        *,
        case carrier
            {%- for carrier, days in promised_days.items() %}
            when '{{ carrier }}' then {{ days }}
            {%- endfor %}
            else {{ promised_days_of_others }}
        end as promised_days,
        {{ utc_day('delivered_at') }} as delivered_dt
    from {{ ref('silver_shipments') }}
    where {{ is_affected() }}
),

judged as (
    select
        *,
        cast(ship_dt + promised_days as date) as promised_date,
        -- What arrived before it left has an arrival that nobody can believe: it is neither in time nor late.
        case when is_valid_delivery then delivered_dt end as believed_dt
    from shipments
)

select
    {{ surrogate_key(['judged.shipment_id']) }} as shipment_key,
    judged.shipment_id,
    judged.ship_dt as date,
    judged.order_id,
    orders.order_dt_local as order_date,
    judged.carrier,
    judged.shipped_at,
    judged.delivered_at,
    judged.ship_cost as ship_cost_aud,
    judged.delivered_at is not null as is_delivered,
    date_diff('day', judged.ship_dt, judged.delivered_dt) as delivery_days,
    judged.promised_days,
    judged.promised_date,
    judged.believed_dt <= judged.promised_date as is_on_time,
    case
        when judged.believed_dt is not null then greatest(date_diff('day', judged.promised_date, judged.believed_dt), 0)
    end as days_late,
    judged.has_known_order,
    judged.is_valid_delivery,
    greatest(judged._batch_id, orders._batch_id) as _batch_id,
    {{ this_revision() }} as _revision
from judged
left join {{ ref('silver_orders') }} as orders using (order_id)
