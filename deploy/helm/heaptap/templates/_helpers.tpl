{{- define "heaptap.name" -}}
{{ printf "%s-agent" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "heaptap.selector" -}}
app.kubernetes.io/name: heaptap-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "heaptap.labels" -}}
{{ include "heaptap.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
