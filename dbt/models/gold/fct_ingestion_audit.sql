{{ config(materialized='view') }}

-- A view: the ledger lives in the lake, in one copy, and what it says is true at once.
with entries as (
    select
        *,
        {{ utc_day('recorded_at') }} as date,
        -- Rows of a file are in bronze until a later batch takes them out.
        coalesce(max(batch_id) filter (status = 'superseded') over (partition by source_file), -1) as out_of_batch,
        max(max_business_date) filter (status = 'loaded') over (
            partition by table_name order by batch_id range between unbounded preceding and 1 preceding
        ) as newest_date_before
    from {{ source('ops', 'manifest_processed_files') }}
)

select
    date,
    recorded_at as loaded_at,
    table_name,
    source_file,
    batch_id,
    run_id,
    status as outcome,
    status <> 'refused' and out_of_batch <= batch_id as is_live,
    rows_read,
    rows_accepted,
    rows_quarantined,
    case when status = 'refused' then rows_read else 0 end as rows_refused,
    seconds,
    size_bytes as bytes,
    min_business_date,
    max_business_date,
    date_diff('day', max_business_date, date) as arrival_delay_days,
    date_diff('day', min_business_date, date) as oldest_row_delay_days,
    coalesce(max_business_date < newest_date_before, false) as is_late,
    reason
from entries
where status in ('loaded', 'replayed', 'refused')
