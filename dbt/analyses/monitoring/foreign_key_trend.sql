-- How many rows point at nothing, by check and day, over the last 30 days.
select
    table_name,
    check_name,
    check_date,
    failures,
    rows,
    round(value, 2) as percent_unknown,
    round(value - lag(value) over (partition by table_name, check_name order by check_date), 2) as moved
from data_quality_metrics
where check_type = 'foreign_key' and check_date >= cast(now() at time zone 'UTC' as date) - 30
order by table_name, check_name, check_date desc;
