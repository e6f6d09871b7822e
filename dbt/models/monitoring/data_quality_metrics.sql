-- A view: a typed `dbt test` shows at once. It answers in any session: days are UTC days, whatever TimeZone says.
with test_results as (
    select
        table_name,
        -- What points at nothing and what is there twice is asked for by what it means, not by which test found it.
        case
            when test_type = 'relationships' or column_name like 'has_known_%' and test_type = 'is_true' then 'foreign_key'
            when test_type in ('unique', 'unique_combination') then 'duplicates'
            else 'dbt_' || test_type
        end as check_type,
        test_name as check_name,
        column_name,
        {{ utc_day('checked_at') }} as check_date,
        100 * failures / nullif(rows_tested, 0) as value,
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
        order by status = 'pass' and rows_tested is not distinct from 0, checked_at desc, run_id desc
    ) = 1
),

-- What the loader counted: files that a run read, by table and day.
loaded as (
    select
        {{ qualify_contract() }} as table_name,
        {{ utc_day('recorded_at') }} as check_date,
        -- Of a file that was refused whole, no record was judged: `refusals` has it.
        coalesce(sum(rows_read) filter (status = 'loaded'), 0) as rows_read,
        coalesce(sum(rows_quarantined) filter (status = 'loaded'), 0) as rows_quarantined,
        count(*) as files,
        count(*) filter (status = 'refused') as files_refused,
        max_by(run_id, recorded_at) as run_id,
        max(recorded_at) as checked_at
    from (
        select *
        from {{ source('ops', 'manifest_processed_files') }}
        where table_name is not null and status in ('loaded', 'refused')
        -- A file that was sent again the same day is judged by what came of it last.
        qualify row_number() over (
            partition by source_file, {{ utc_day('recorded_at') }} order by entry_id desc nulls last, recorded_at desc
        ) = 1
    )
    group by all
),

quarantine_rates as (
    select
        table_name,
        'quarantine' as check_type,
        'rows_accepted' as check_name,
        check_date,
        100 * rows_quarantined / nullif(rows_read, 0) as value,
        case when rows_read > 0 then 100 * (rows_read - rows_quarantined) / rows_read else 100 end as pass_rate,
        rows_quarantined as failures,
        rows_read as rows,
        case when rows_quarantined = 0 then 'pass' else 'warn' end as status,
        run_id,
        checked_at
    from loaded
    where files > files_refused
),

refusals as (
    select
        table_name,
        'refusal' as check_type,
        'files_loaded' as check_name,
        check_date,
        100 * files_refused / files as value,
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
        date_diff('minute', newest.loaded_at, now()) / 60 as value,
        case when status = 'pass' then 100 else 0 end as pass_rate,
        case status when 'error' then null when 'pass' then 0 else 1 end as failures,
        case status when 'error' then 0 else 1 end as rows,
        newest.run_id,
        now() as checked_at
    from promises
    left join (
        select
            {{ qualify_contract() }} as table_name,
            max(recorded_at) as loaded_at,
            max_by(run_id, recorded_at) as run_id
        from {{ source('ops', 'manifest_processed_files') }}
        where status = 'loaded'
        group by all
    ) as newest using (table_name)
),

-- Per load day, the days it touched as they were after its last load.
profiles as (
    select *, {{ utc_day('measured_at') }} as check_date
    from {{ source('ops', 'data_profiles') }}
    where measure in ('volume', 'null_share', 'duplicate_share')
    qualify row_number() over (
        partition by table_name, business_date, measure, column_name, check_date
        order by measured_at desc, batch_id desc
    ) = 1
),

-- Nulls fail where the contract says not_null, and are counted everywhere.
shares as (
    select
        table_name,
        case measure when 'null_share' then 'null_share' else 'duplicates' end as check_type,
        case measure when 'null_share' then 'values_present' else 'keys_once_a_day' end as check_name,
        column_name,
        check_date,
        sum(value * rows) / nullif(sum(rows), 0) as value,
        coalesce(100 - 100 * sum(failures) / nullif(sum(rows), 0), 100) as pass_rate,
        sum(failures) as failures,
        sum(rows) as rows,
        case when sum(failures) = 0 then 'pass' else 'warn' end as status,
        max_by(run_id, measured_at) as run_id,
        max(measured_at) as checked_at
    from profiles
    where measure <> 'volume'
    group by all
),

volumes as (
    select
        table_name,
        'volume' as check_type,
        'rows_of_the_day' as check_name,
        check_date,
        business_date,
        value,
        case when rows > 0 then 100 else 0 end as pass_rate,
        case when rows > 0 then 0 else 1 end as failures,
        rows,
        case when rows > 0 then 'pass' else 'warn' end as status,
        run_id,
        measured_at as checked_at
    from profiles
    where measure = 'volume'
),

-- A file is late if all it brought is older than what earlier batches had brought. By batch, not by file: DuckDB 1.5.5
-- gets a RANGE frame wrong where more than 2,048 rows share a place in its order.
batches as (
    select
        table_name,
        batch_id,
        -- A day to come is mistyped, and would make all that comes after it late.
        max(max(max_business_date) filter (max_business_date <= {{ utc_day('recorded_at') }} + 1)) over (
            partition by table_name order by batch_id rows between unbounded preceding and 1 preceding
        ) as newest_before
    from {{ source('ops', 'manifest_processed_files') }}
    where status = 'loaded'
    group by table_name, batch_id
),

arrivals as (
    select
        {{ qualify_contract() }} as table_name,
        {{ utc_day('recorded_at') }} as check_date,
        rows_accepted,
        min_business_date,
        newest_before,
        coalesce(max_business_date < newest_before, false) as is_late,
        run_id,
        recorded_at
    from {{ source('ops', 'manifest_processed_files') }}
    inner join batches using (table_name, batch_id)
    where status = 'loaded' and max_business_date is not null
),

late_arrivals as (
    select
        table_name,
        'late_arrival' as check_type,
        'rows_on_time' as check_name,
        check_date,
        coalesce(max(date_diff('day', min_business_date, newest_before)) filter (is_late), 0) as value,
        coalesce(100 - 100 * (sum(rows_accepted) filter (is_late)) / nullif(sum(rows_accepted), 0), 100) as pass_rate,
        coalesce(sum(rows_accepted) filter (is_late), 0) as failures,
        sum(rows_accepted) as rows,
        case when count(*) filter (is_late) = 0 then 'pass' else 'warn' end as status,
        max_by(run_id, recorded_at) as run_id,
        max(recorded_at) as checked_at
    from arrivals
    group by all
),

-- Days against the same weekday's history, by the rules that are on; a day that cannot be judged yet is not here.
anomalies as (
    select
        table_name,
        'anomaly' as check_type,
        measure as check_name,
        column_name,
        {{ utc_day('judged_at') }} as check_date,
        business_date,
        max(abs(distance)) as value,
        -- Of rows where rows are judged, else of the day's series: one, or one for each category.
        case measure
            when 'outliers' then coalesce(100 - 100 * sum(value) / nullif(sum(rows), 0), 100)
            else 100 - 100 * count(*) filter (is_anomaly) / count(*)
        end as pass_rate,
        case measure when 'outliers' then sum(value) else count(*) filter (is_anomaly) end as failures,
        case measure when 'outliers' then sum(rows) else count(*) end as rows,
        case when bool_or(is_anomaly) then 'warn' else 'pass' end as status,
        max_by(run_id, judged_at) as run_id,
        max(judged_at) as checked_at
    from (
        from {{ source('ops', 'data_anomalies') }}
        where distance is not null
        qualify judged_at = max(judged_at) over (
            partition by table_name, measure, column_name, business_date, {{ utc_day('judged_at') }}
        )
    )
    -- By name: `group by all` takes no expression that mixes a key with a sum.
    group by table_name, measure, column_name, check_date, business_date
),

-- A table's first columns are no change.
schema_changes as (
    select
        {{ qualify_contract() }} as table_name,
        'schema' as check_type,
        'column_' || change as check_name,
        column_name,
        {{ utc_day('recorded_at') }} as check_date,
        count(*) as value,
        case when change = 'declared' then 100 else 0 end as pass_rate,
        case when change = 'declared' then 0 else 1 end as failures,
        1 as rows,
        case when change = 'declared' then 'pass' else 'warn' end as status,
        max(recorded_at) as checked_at
    from (
        select *, min(recorded_at) over (partition by table_name) as created_at
        from {{ source('ops', 'schema_history') }}
    )
    where recorded_at > created_at
    group by all
),

united as (
    select * from test_results
    union all by name
    select *, cast(99 as double) as threshold from quarantine_rates
    union all by name
    select *, cast(100 as double) as threshold from refusals
    union all by name
    select *, cast(100 as double) as threshold from freshness
    union all by name
    select *, cast(100 as double) as threshold from shares
    union all by name
    select *, cast(100 as double) as threshold from volumes
    union all by name
    select *, cast(100 as double) as threshold from late_arrivals
    union all by name
    select *, cast(100 as double) as threshold from schema_changes
    union all by name
    select *, cast(100 as double) as threshold from anomalies
)

select
    table_name,
    check_type,
    check_name,
    column_name,
    check_date,
    business_date,
    cast(pass_rate as double) as pass_rate,
    cast(failures as bigint) as failures,
    cast(rows as bigint) as rows,
    status,
    threshold,
    cast(value as double) as value,
    run_id,
    checked_at
from united
