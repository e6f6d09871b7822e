{{ config(materialized='table') }}
{%- set countries = {'au': 'AU', 'uk': 'GB', 'us': 'US'} %}

-- Fixed bounds: the calendar must not depend on what has been loaded.
with days as (
    select cast(day as date) as date
    from generate_series(timestamp '2010-01-01', timestamp '2039-12-31', interval 1 day) as series (day)
),

holidays as (
    select
        date,
        {% for column, country in countries.items() -%}
        any_value(name) filter (country_code = '{{ country }}') as holiday_{{ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ read_seed('public_holidays') }}
    group by date
),

-- The Australian financial year: July to June, named after the year it ends in.
fiscal as (
    select *, date + interval 6 month as half_a_year_on
    from days
    left join holidays using (date)
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
    cast(year(half_a_year_on) as integer) as fiscal_year,
    cast(quarter(half_a_year_on) as integer) as fiscal_quarter,
    cast(month(half_a_year_on) as integer) as fiscal_month,
    {% for column in countries -%}
    holiday_{{ column }} is not null as is_holiday_{{ column }},
    holiday_{{ column }}{{ ',' if not loop.last }}
    {% endfor %}
from fiscal
order by date
