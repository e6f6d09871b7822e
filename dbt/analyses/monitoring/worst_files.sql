-- Which raw files were refused, or had the largest share of their records quarantined; the worst 50, as they are now.
with files as (
    select *
    from manifest_processed_files
    where status in ('loaded', 'refused')
    qualify row_number() over (partition by source_file order by entry_id desc) = 1
)

select
    status,
    table_name,
    source_file,
    rows_read,
    rows_quarantined,
    round(100 * rows_quarantined / nullif(rows_read, 0), 2) as percent_quarantined,
    reason,
    recorded_at
from files
where status = 'refused' or rows_quarantined > 0
order by status = 'refused' desc, percent_quarantined desc, rows_quarantined desc, source_file
limit 50;
