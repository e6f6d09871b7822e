-- What the customers of each segment and country are worth: how many, how often they buy, what they bought in all.
select
    segment,
    country,
    count(*) as customers,
    sum(orders) as orders,
    round(avg(orders), 2) as orders_per_customer,
    round(avg(lifetime_value_aud), 2) as lifetime_value_aud_per_customer,
    round(median(lifetime_value_aud), 2) as lifetime_value_aud_median,
    sum(lifetime_value_aud) as lifetime_value_aud,
    round(100 * sum(lifetime_value_aud) / sum(sum(lifetime_value_aud)) over (), 1) as share_pct
from gold.v_customer_value
group by segment, country
order by lifetime_value_aud desc nulls last;
