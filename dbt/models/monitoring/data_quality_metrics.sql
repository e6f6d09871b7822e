-- A view: a typed `dbt test` shows at once. It answers in any session: days are UTC days, whatever TimeZone says.
with test_results as (
    select
        table_name,
        'dbt_' || test_type as check_type,
        test_name as check_name,
        column_name,
        {{ utc_day('checked_at') }} as check_date,
        pass_rate,
        failures,
        rows_tested as rows,
        status,
        cast(100 as double) as threshold,
        run_id,
        checked_at
    from {{ source('ops', 'dbt_test_results') }}
    -- Several runs a day: the day is judged by the last that read a row; with nothing new there was nothing to judge.
    qualify row_number() over (
        partition by unique_id, check_date
        order by status = 'pass' and rows_tested = 0, checked_at desc, run_id desc
    ) = 1
),

-- What the loader counted: files that a run read, by table and day.
loaded as (
    select
        'bronze.' || table_name as table_name,
        {{ utc_day('recorded_at') }} as check_date,
        sum(rows_read) as rows_read,
        sum(rows_quarantined) as rows_quarantined,
        count(*) as files,
        count(*) filter (status = 'refused') as files_refused,
        max_by(run_id, recorded_at) as run_id,
        max(recorded_at) as checked_at
    from {{ source('ops', 'manifest_processed_files') }}
    where table_name is not null and status in ('loaded', 'refused')
    group by all
),

quarantine_rates as (
    select
        table_name,
        'quarantine' as check_type,
        'rows_accepted' as check_name,
        check_date,
        case when rows_read > 0 then 100 * (rows_read - rows_quarantined) / rows_read else 100 end as pass_rate,
        rows_quarantined as failures,
        rows_read as rows,
        case when rows_quarantined = 0 then 'pass' else 'warn' end as status,
        run_id,
        checked_at
    from loaded
),

refusals as (
    select
        table_name,
        'refusal' as check_type,
        'files_loaded' as check_name,
        check_date,
        100 * (files - files_refused) / files as pass_rate,
        files_refused as failures,
        files as rows,
        case when files_refused = 0 then 'pass' else 'fail' end as status,
        run_id,
        checked_at
    from loaded
),

-- How old each table's newest load is now, against the contract: true at the moment of asking, so it has no history.
promises (table_name, warn_minutes, error_minutes) as (
    {{ select_freshness_promises() }}
),

freshness as (
    select
        promises.table_name,
        'freshness' as check_type,
        'newest_load' as check_name,
        {{ utc_day('now()') }} as check_date,
        case
            when newest.loaded_at is null then 'error'
            when newest.loaded_at < now() - to_minutes(error_minutes) then 'fail'
            when newest.loaded_at < now() - to_minutes(warn_minutes) then 'warn'
            else 'pass'
        end as status,
        case when status = 'pass' then 100 else 0 end as pass_rate,
        case status when 'error' then null when 'pass' then 0 else 1 end as failures,
        case status when 'error' then 0 else 1 end as rows,
        newest.run_id,
        now() as checked_at
    from promises
    left join (
        select
            'bronze.' || table_name as table_name,
            max(recorded_at) as loaded_at,
            max_by(run_id, recorded_at) as run_id
        from {{ source('ops', 'manifest_processed_files') }}
        where status = 'loaded'
        group by all
    ) as newest using (table_name)
),

united as (
    select * from test_results
    union all by name
    select *, cast(99 as double) as threshold from quarantine_rates
    union all by name
    select *, cast(100 as double) as threshold from refusals
    union all by name
    select *, cast(100 as double) as threshold from freshness
)

select
    table_name,
    check_type,
    check_name,
    column_name,
    check_date,
    cast(pass_rate as double) as pass_rate,
    cast(failures as bigint) as failures,
    cast(rows as bigint) as rows,
    status,
    threshold,
    run_id,
    checked_at
from united
