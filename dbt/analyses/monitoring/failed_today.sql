-- Which tests failed or did not finish today (UTC), with one failing row of each; failing_rows has more.
select
    results.status,
    results.severity,
    results.table_name,
    results.test_name,
    results.failures,
    results.rows_tested,
    results.message,
    samples.row_json as first_failing_row,
    results.checked_at,
    results.run_id
from dbt_test_results as results
left join dbt_test_failures as samples
    on samples.run_id = results.run_id and samples.unique_id = results.unique_id and samples.row_number = 1
where results.status in ('fail', 'error')
    and cast(results.checked_at at time zone 'UTC' as date) = cast(now() at time zone 'UTC' as date)
order by results.checked_at desc, results.status desc, results.test_name;
