-- "Today" is the newest day anything left or arrived, not the clock: the same data gives the same answer. But a mistyped
-- year must not make every parcel overdue; a day later than the clock's, it may be already in the east.
with days as (
    select date from {{ ref('fct_shipments') }}
    union all
    select {{ utc_day('delivered_at') }} from {{ ref('fct_shipments') }}
),

today as (
    select max(date) as date from days
    where date <= {{ utc_day('now()') }} + 1
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
