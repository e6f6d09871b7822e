-- Which rows failed in each test's last run that found any, and which file and line they came from.
select
    failures.table_name,
    failures.test_name,
    failures.row_json ->> '_source_file' as source_file,
    failures.row_json ->> '_source_row' as source_row,
    failures.row_json,
    failures.checked_at,
    failures.run_id
from dbt_test_failures as failures
qualify failures.checked_at = max(failures.checked_at) over (partition by failures.unique_id)
order by failures.checked_at desc, failures.test_name, failures.row_number;
