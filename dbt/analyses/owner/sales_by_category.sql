-- What each category sold over the last 30 days there are, and how that compares with the 30 days before. An order whose
-- day is yet to come (a mistyped year) is not the last.
with newest as (
    select max(date) as date from gold.v_sales
    where date <= current_date + 1
),

sold as (
    select
        sales.category,
        count(distinct sales.order_id) filter (sales.date > newest.date - 30) as orders,
        sum(sales.quantity) filter (sales.date > newest.date - 30) as units,
        sum(sales.net_aud) filter (sales.date > newest.date - 30) as net_aud,
        sum(sales.net_aud) filter (sales.date <= newest.date - 30) as net_aud_before
    from gold.v_sales as sales
    cross join newest
    where sales.date > newest.date - 60 and sales.date <= newest.date
    group by sales.category
)

select
    category,
    orders,
    units,
    net_aud,
    round(100 * net_aud / sum(net_aud) over (), 1) as share_pct,
    net_aud_before,
    round(100 * (net_aud / nullif(net_aud_before, 0) - 1), 1) as growth_pct
from sold
order by net_aud desc nulls last;
