-- Which business days of the last 30 are not as usual, by how much, and what most likely made them so.
with judged as (
    select *
    from data_anomalies
    qualify judged_at = max(judged_at) over (partition by table_name, measure, column_name, business_date)
)

select
    table_name,
    business_date,
    measure,
    column_name,
    category,
    round(value, 2) as value,
    round(usual, 2) as usual,
    round(distance, 1) as distance,
    threshold,
    sample,
    cause,
    run_id
from judged
where is_anomaly
qualify business_date >= max(business_date) over () - 30
order by business_date desc, abs(distance) desc;
