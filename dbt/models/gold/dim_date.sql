{{ config(materialized='table') }}

-- Fixed bounds: the calendar must not depend on what has been loaded.
with days as (
    select cast(day as date) as date
    from generate_series(timestamp '2010-01-01', timestamp '2039-12-31', interval 1 day) as series (day)
)

select
    date,
    cast(strftime(date, '%Y%m%d') as integer) as date_key,
    cast(year(date) as integer) as year,
    cast(quarter(date) as integer) as quarter,
    cast(month(date) as integer) as month,
    monthname(date) as month_name,
    cast(day(date) as integer) as day_of_month,
    cast(dayofyear(date) as integer) as day_of_year,
    cast(isodow(date) as integer) as iso_day_of_week,
    dayname(date) as day_name,
    cast(isoyear(date) as integer) as iso_year,
    cast(weekofyear(date) as integer) as iso_week,
    isodow(date) >= 6 as is_weekend,
    cast(date_trunc('month', date) as date) as month_start,
    last_day(date) as month_end,
    -- The Australian financial year: July to June, named after the year it ends in.
    cast(year(date + interval 6 month) as integer) as fiscal_year,
    cast(quarter(date + interval 6 month) as integer) as fiscal_quarter
from days
