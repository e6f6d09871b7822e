with days as (
    select
        date,
        count(distinct order_id) as orders,
        count(distinct order_id) filter (net_aud is not null) as rated_orders,
        cast(sum(quantity) as bigint) as units,
        cast(sum(net_aud) as decimal(28, 4)) as net_aud
    from {{ ref('fct_sales') }}
    group by date
)

-- Month and year by the date, not by the calendar: a mistyped day that it lacks is not in one with all others.
select
    days.date,
    calendar.day_name as weekday,
    calendar.is_weekend,
    calendar.holiday_au as holiday,
    days.orders,
    days.units,
    days.net_aud,
    {{ aud_per('days.net_aud', 'days.rated_orders') }} as net_aud_per_order,
    sum(days.net_aud) over (order by days.date range between interval 6 days preceding and current row)
        as net_aud_last_7_days,
    sum(days.net_aud) over (partition by date_trunc('month', days.date) order by days.date) as net_aud_month_to_date,
    sum(days.net_aud) over (partition by year(days.date + interval 6 month) order by days.date) as net_aud_fiscal_year_to_date
from days
left join {{ ref('dim_date') }} as calendar using (date)
