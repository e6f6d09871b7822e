{{ config(
    unique_key=['store_id', 'shelf_id', 'reading_hour'],
    meta={'affected_by': [
        {'ref': 'silver_sensors', 'provides': {'reading_hour': "date_trunc('hour', changed.sensor_ts)"}},
        {'ref': 'dim_store', 'flag': 'has_known_store'}
    ]}
) }}
{#- Possible, but somebody should look. March 2024: shelves are at 4 or 21.5 degrees, never above 30, and what lies on
    one above 40 spoils; a battery begins at 4150 mV, loses 2 a day and is changed at 3350. #}
{%- set hot_c = 40 %}
{%- set low_battery_mv = 3400 %}

with readings as (
    select *, date_trunc('hour', sensor_ts) as reading_hour
    from {{ ref('silver_sensors') }}
),

hours as (
    select
        store_id,
        shelf_id,
        reading_hour,
        sensor_dt as date,
        count(*) as readings,
        -- What a sensor cannot have measured is counted, and left out of the means.
        count(*) filter (not is_valid_temperature or not is_valid_humidity) as anomalous_readings,
        count(*) filter (not is_valid_temperature) as anomalous_temperatures,
        count(*) filter (not is_valid_humidity) as anomalous_humidities,
        cast(avg(temperature_c) filter (is_valid_temperature) as decimal(8, 2)) as mean_temperature_c,
        min(temperature_c) filter (is_valid_temperature) as min_temperature_c,
        max(temperature_c) filter (is_valid_temperature) as max_temperature_c,
        cast(avg(humidity_pct) filter (is_valid_humidity) as decimal(8, 2)) as mean_humidity_pct,
        min(battery_mv) as min_battery_mv,
        max(_batch_id) as _batch_id
    from readings
    where {{ is_affected(prune_by={}) }}
    group by all
)

select
    {{ surrogate_key(['hours.store_id', 'hours.shelf_id', 'hours.reading_hour']) }} as reading_key,
    hours.date,
    hours.reading_hour,
    coalesce(stores.store_key, {{ unknown_key() }}) as store_key,
    hours.store_id,
    hours.shelf_id,
    stores.store_key is not null as has_known_store,
    hours.readings,
    hours.anomalous_readings,
    hours.anomalous_readings > 0 as has_anomaly,
    hours.anomalous_temperatures > 0 as has_temperature_anomaly,
    hours.anomalous_humidities > 0 as has_humidity_anomaly,
    coalesce(hours.max_temperature_c > {{ hot_c }}, false) as is_hot,
    coalesce(hours.min_battery_mv < {{ low_battery_mv }}, false) as is_low_battery,
    hours.mean_temperature_c,
    hours.min_temperature_c,
    hours.max_temperature_c,
    hours.mean_humidity_pct,
    hours.min_battery_mv,
    hours._batch_id,
    {{ this_revision() }} as _revision
from hours
left join {{ ref('dim_store') }} as stores
    on hours.store_id = stores.store_id and stores.store_key <> -1
