{#-
  A seed, read from its file: `dbt run` loads no seeds, and a model that reads one must not depend on whether, and when,
  somebody ran `dbt seed`.
-#}
{% macro read_seed(name) -%}
    {%- set relation = ref(name) -%}
    {%- if execute -%}
        {%- set seed = graph.nodes.values() | selectattr('resource_type', 'equalto', 'seed')
            | selectattr('name', 'equalto', name) | first -%}
        {%- set file = invocation_args_dict.project_dir ~ '/' ~ seed.original_file_path -%}
        {%- set columns = [] -%}
        {%- for column, type in seed.config.column_types.items() -%}
            {%- do columns.append("'" ~ column ~ "': '" ~ type ~ "'") -%}
        {%- endfor -%}
        read_csv('{{ dbt.escape_single_quotes(file) }}', header = true, columns = { {{- columns | join(', ') -}} })
    {%- else -%} {{ relation }}
    {%- endif -%}
{%- endmacro %}
