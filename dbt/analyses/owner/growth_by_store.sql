-- How each store's sales moved from month to month; the newest month first. A month that is not over reads low.
select
    month,
    store,
    region,
    orders,
    net_aud,
    net_aud_month_before,
    growth_pct,
    rank() over (partition by month order by net_aud desc nulls last) as place
from gold.v_store_performance
order by month desc, place;
