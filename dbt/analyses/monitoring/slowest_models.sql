-- Which models take longest: their last build against the usual of the last 30 days.
with builds as (
    select *
    from dbt_model_results
    where status = 'success' and built_at >= now() - interval 30 day
)

select
    table_name,
    materialized,
    count(*) as builds,
    round(median(seconds), 2) as usual_seconds,
    round(arg_max(seconds, built_at), 2) as last_seconds,
    round(arg_max(seconds, built_at) / nullif(median(seconds), 0), 1) as times_usual,
    max(built_at) as last_built_at
from builds
group by all
order by last_seconds desc;
