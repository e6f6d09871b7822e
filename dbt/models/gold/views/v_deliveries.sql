-- "Today" is the newest day anything left or arrived, not the clock: the same data gives the same answer.
with today as (
    select greatest(max(date), max({{ utc_day('delivered_at') }})) as date from {{ ref('fct_shipments') }}
)

select
    cast(date_trunc('month', shipments.date) as date) as month,
    shipments.carrier,
    count(*) as shipments,
    count(*) filter (shipments.is_delivered) as delivered,
    count(*) filter (not shipments.is_delivered) as on_their_way,
    count(*) filter (not shipments.is_delivered and shipments.promised_date < today.date) as overdue,
    count(*) filter (shipments.is_on_time) as on_time,
    count(*) filter (not shipments.is_on_time) as late,
    round(100 * count(*) filter (shipments.is_on_time) / nullif(count(shipments.is_on_time), 0), 1) as on_time_pct,
    round(avg(shipments.delivery_days) filter (shipments.is_valid_delivery), 2) as mean_delivery_days,
    cast(sum(shipments.ship_cost_aud) as decimal(28, 2)) as cost_aud
from {{ ref('fct_shipments') }} as shipments
cross join today
group by all
