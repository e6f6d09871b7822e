-- What is wrong now, since when, and how it moved since the check before.
with days as (
    select
        table_name, check_type, check_name, column_name, check_date,
        min(pass_rate) as pass_rate,
        sum(failures) as failures,
        arg_max(status, list_position(['skipped', 'pass', 'warn', 'error', 'fail'], status)) as status
    from data_quality_metrics
    group by all
),

checks as (
    select
        *,
        max(check_date) filter (status = 'pass') over whole as last_good,
        lag(pass_rate) over (
            partition by table_name, check_type, check_name, column_name order by check_date
        ) as pass_rate_before,
        check_date = max(check_date) over whole as is_newest,
        max(check_date) filter (check_type = 'quarantine') over (partition by table_name) as last_load
    from days
    window whole as (partition by table_name, check_type, check_name, column_name)
),

dated as (
    select
        *,
        min(check_date) filter (last_good is null or check_date > last_good) over (
            partition by table_name, check_type, check_name, column_name
        ) as since
    from checks
)

select
    status,
    table_name,
    check_name,
    column_name,
    round(pass_rate, 2) as pass_rate,
    round(pass_rate - pass_rate_before, 2) as moved,
    failures,
    since,
    check_date as checked_on
from dated
where is_newest
    and status not in ('pass', 'skipped')
    -- What a load came to is over with the next load; a check that nobody runs any more says nothing about now.
    and case
        when check_type in ('quarantine', 'refusal', 'late_arrival', 'schema') then check_date >= last_load
        else check_date >= cast(now() at time zone 'UTC' as date) - 7
    end
order by list_position(['fail', 'error', 'warn'], status), pass_rate, table_name, check_name;
