{{ config(
    unique_key=['store_id', 'shelf_id', 'sensor_ts'],
    meta={'affected_by': [
        {'source': 'sensors'},
        {'ref': 'silver_stores', 'flag': 'has_known_store'}
    ]}
) }}

with latest as (
    select * from {{ source('bronze', 'sensors') }}
    -- By day: stores and shelves are the same in every file, and moments do not prune.
    where {{ is_affected(prune_by={'sensor_dt': utc_day('sensor_ts')}) }}
    qualify {{ is_latest('sensors') }}
)

select
    latest.store_id,
    latest.shelf_id,
    latest.sensor_ts,
    latest.sensor_dt,
    latest.temperature_c,
    latest.humidity_pct,
    latest.battery_mv,
    stores.store_id is not null as has_known_store,
    coalesce(latest.temperature_c between -40 and 60, false) as is_valid_temperature,
    coalesce(latest.humidity_pct between 0 and 100, false) as is_valid_humidity,
    latest._batch_id,
    {{ this_revision() }} as _revision
from latest
left join {{ ref('silver_stores') }} as stores using (store_id)
