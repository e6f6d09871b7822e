select
    readings.date,
    readings.reading_hour as hour,
    readings.store_id,
    stores.name as store,
    stores.region,
    readings.shelf_id as shelf,
    concat_ws(
        ', ',
        case when readings.has_temperature_anomaly then 'impossible or missing temperature' end,
        case when readings.has_humidity_anomaly then 'impossible or missing humidity' end,
        case when readings.is_hot then 'too hot' end,
        case when readings.is_low_battery then 'low battery' end
    ) as what,
    readings.readings,
    readings.anomalous_readings,
    readings.max_temperature_c,
    readings.min_battery_mv
from {{ ref('fct_sensor_readings') }} as readings
join {{ ref('dim_store') }} as stores using (store_key)
where readings.has_anomaly or readings.is_hot or readings.is_low_battery
