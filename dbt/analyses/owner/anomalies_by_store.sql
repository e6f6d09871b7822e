-- Where the shelves' sensors say that something is wrong: by store, how often, what, and when last.
select
    store,
    region,
    count(*) as hours,
    count(distinct shelf) as shelves,
    count(*) filter (what like '%impossible%') as hours_impossible,
    count(*) filter (what like '%too hot%') as hours_too_hot,
    count(*) filter (what like '%low battery%') as hours_low_battery,
    max(hour) as last_seen
from gold.v_sensor_anomalies
group by store, region
order by hours desc;
