with days as (
    select
        date,
        count(distinct order_id) as orders,
        cast(sum(quantity) as bigint) as units,
        cast(sum(net_aud) as decimal(28, 4)) as net_aud
    from {{ ref('fct_sales') }}
    group by date
)

select
    days.date,
    calendar.day_name as weekday,
    calendar.is_weekend,
    calendar.holiday_au as holiday,
    days.orders,
    days.units,
    days.net_aud,
    {{ aud_per('days.net_aud', 'days.orders') }} as net_aud_per_order,
    sum(days.net_aud) over (order by days.date range between interval 6 days preceding and current row)
        as net_aud_last_7_days,
    sum(days.net_aud) over (partition by calendar.month_start order by days.date) as net_aud_month_to_date,
    sum(days.net_aud) over (partition by calendar.fiscal_year order by days.date) as net_aud_fiscal_year_to_date
from days
left join {{ ref('dim_date') }} as calendar using (date)
