select
    table_name as source,
    date as arrived,
    count(*) as files,
    cast(sum(rows_accepted) as bigint) as rows,
    max(max_business_date) as newest_day,
    min(arrival_delay_days) as min_delay_days,
    median(arrival_delay_days) as median_delay_days,
    max(arrival_delay_days) as max_delay_days,
    count(*) filter (is_late) as late_files
from {{ ref('fct_ingestion_audit') }}
where outcome = 'loaded' and arrival_delay_days is not null
group by all
