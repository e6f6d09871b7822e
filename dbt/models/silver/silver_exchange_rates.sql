{{ config(unique_key=['date', 'currency'], meta={'affected_by': [{'source': 'exchange_rates'}]}) }}

with latest as (
    select * from {{ source('bronze', 'exchange_rates') }}
    where {{ is_affected() }}
    qualify {{ is_latest('exchange_rates') }}
)

select
    date,
    -- Not normalised: it is part of the key, and two spellings must not become one row.
    currency,
    rate_to_aud,
    -- One AUD is one AUD; a source that says otherwise is wrong about that row. No currency is worth a million.
    coalesce(
        rate_to_aud > 0 and rate_to_aud < 1000000
        and (upper(trim(currency)) <> 'AUD' or rate_to_aud = 1), false
    ) as is_valid_rate,
    _batch_id,
    {{ this_revision() }} as _revision
from latest
