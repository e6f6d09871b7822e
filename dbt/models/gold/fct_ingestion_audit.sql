{{ config(materialized='view') }}

-- A view: the ledger lives in the lake, in one copy, and what it says is true at once.
with ledger as (
    select *, {{ utc_day('recorded_at') }} as date, coalesce(rows_batch_id, batch_id) as rows_batch
    from {{ source('ops', 'manifest_processed_files') }}
),

-- What was last said of a file's rows: which load's they are, null if none of them is in bronze.
last_words as (
    select
        source_file,
        max(entry_id) as entry_id,
        max_by(case when status in ('loaded', 'restored') then rows_batch else -1 end, entry_id) as live_batch
    from ledger
    where status in ('loaded', 'superseded', 'undone', 'restored')
    group by all
),

-- Records that a replay brought leave with the file's others; a restore that brings them back says so again.
live_replays as (
    select distinct ledger.source_file, ledger.rows_batch
    from ledger
    inner join last_words using (source_file)
    where ledger.status = 'replayed' and ledger.entry_id > last_words.entry_id
),

-- What a batch says of days to come is mistyped, and would make all that comes after it late.
-- By batch, not by file: DuckDB 1.5.5 gets a RANGE frame wrong where more than 2,048 rows share a place in its order.
batches as (
    select
        table_name,
        batch_id,
        max(max(max_business_date) filter (status = 'loaded' and max_business_date <= date + 1)) over (
            partition by table_name order by batch_id rows between unbounded preceding and 1 preceding
        ) as newest_date_before
    from ledger
    where batch_id is not null
    group by table_name, batch_id
)

select
    entries.date,
    entries.recorded_at as loaded_at,
    entries.table_name,
    entries.source_file,
    entries.batch_id,
    entries.run_id,
    entries.status as outcome,
    case entries.status
        when 'loaded' then entries.batch_id = last_words.live_batch
        when 'replayed' then live_replays.rows_batch is not null
        else false
    end as is_live,
    entries.rows_read,
    entries.rows_accepted,
    entries.rows_quarantined,
    case when entries.status = 'refused' then entries.rows_read else 0 end as rows_refused,
    entries.seconds,
    entries.size_bytes as bytes,
    entries.min_business_date,
    entries.max_business_date,
    date_diff('day', entries.max_business_date, entries.date) as arrival_delay_days,
    date_diff('day', entries.min_business_date, entries.date) as oldest_row_delay_days,
    coalesce(entries.max_business_date < batches.newest_date_before, false) as is_late,
    entries.reason
from ledger as entries
left join batches on batches.table_name = entries.table_name and batches.batch_id = entries.batch_id
left join last_words on last_words.source_file = entries.source_file
left join live_replays
    on live_replays.source_file = entries.source_file and live_replays.rows_batch = entries.batch_id
where entries.status in ('loaded', 'refused') or (entries.status = 'replayed' and entries.rows_batch_id is null)
