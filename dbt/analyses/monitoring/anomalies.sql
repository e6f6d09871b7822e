-- Which business days of the last 30 are not as usual, by how much, and what most likely made them so.
with judged as (
    select *
    from data_anomalies
    qualify judged_at = max(judged_at) over (partition by table_name, measure, column_name, business_date)
),

newest as (
    -- A day that is yet to come is a mistyped year, and not the last.
    select max(business_date) as business_date from judged
    where business_date <= current_date + 1
)

select
    table_name,
    judged.business_date,
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
cross join newest
where is_anomaly and judged.business_date >= newest.business_date - 30
order by judged.business_date desc, abs(distance) desc;
