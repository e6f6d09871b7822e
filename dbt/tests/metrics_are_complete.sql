-- Whoever reads the mart can rely on these. One question for all of them: the view is dear to ask.
select *
from {{ ref('data_quality_metrics') }}
where check_type is null
    or check_name is null
    or check_date is null
    or coalesce(pass_rate not between 0 and 100, true)
    or coalesce(status not in ('pass', 'warn', 'fail', 'error', 'skipped'), true)
