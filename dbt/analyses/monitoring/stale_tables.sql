-- Which tables are older than their contract allows, or were never loaded.
select
    status,
    table_name,
    round(value, 1) as hours_since_load,
    run_id as last_run_of_the_loader
from data_quality_metrics
where check_type = 'freshness' and status <> 'pass'
order by list_position(['fail', 'error', 'warn'], status), hours_since_load desc nulls first;
