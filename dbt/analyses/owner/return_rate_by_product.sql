-- Which products come back: units returned of units sold, the worst first.
select
    product_id,
    product,
    category,
    units,
    units_returned,
    return_rate_pct,
    net_aud
from gold.v_product_performance
where units_returned > 0
order by return_rate_pct desc nulls last, units_returned desc;
