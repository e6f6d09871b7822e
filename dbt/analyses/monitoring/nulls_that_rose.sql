-- Which columns have more nulls in their newest day than in the 28 days of data before it, the largest rise first.
with profiles as (
    select *
    from data_profiles
    where measure = 'null_share'
    -- A day that is yet to come is a mistyped year, and not the newest.
    and business_date <= current_date + 1
    qualify row_number() over (partition by table_name, column_name, business_date order by measured_at desc) = 1
),

newest as (
    select * from profiles
    qualify business_date = max(business_date) over (partition by table_name)
)

select
    newest.table_name,
    newest.column_name,
    newest.business_date,
    round(newest.value, 2) as percent_null,
    round(median(earlier.value), 2) as usual,
    round(any_value(newest.value) - median(earlier.value), 2) as rise,
    count(*) as days_compared,
    newest.run_id
from newest
join profiles as earlier
    on newest.table_name = earlier.table_name
    and newest.column_name = earlier.column_name
    and earlier.business_date between newest.business_date - 28 and newest.business_date - 1
group by newest.table_name, newest.column_name, newest.business_date, newest.value, newest.run_id
having newest.value > median(earlier.value)
order by rise desc, newest.table_name, newest.column_name;
