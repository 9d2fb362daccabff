{{- define "incoming.name" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) }}
{{- $name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "incoming.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "incoming.labels" -}}
{{ include "incoming.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "incoming.claim" -}}
{{- .Values.persistence.existingClaim | default (include "incoming.name" .) }}
{{- end }}

{{- /* YAML numbers are floating-point numbers here, and large ones would become 1e+06. */}}
{{- define "incoming.text" -}}
{{- if kindIs "float64" . }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- end }}
