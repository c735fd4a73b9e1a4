{{/* A rule of egress or ingress to a port: (list "to" or "from", port, peers). */}}
{{- define "outlast.rule" -}}
- ports: [{protocol: TCP, port: {{ index . 1 }}}]
{{- with index . 2 }}
  {{ index $ 0 }}: {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{/* What every process of ours asks: names, Temporal, the collector. */}}
{{- define "outlast.commonEgress" -}}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{ include "outlast.rule" (list "to" (include "outlast.port" .Values.temporal.address) .Values.networkPolicy.temporalPeers) }}
{{- with .Values.settings.otlp_endpoint }}
{{ include "outlast.rule" (list "to" (include "outlast.port" .) $.Values.networkPolicy.otlpPeers) }}
{{- end }}
{{- end }}

{{/* Ports of model servers outside of the release. */}}
{{- define "outlast.modelEgress" -}}
{{- $urls := list (dig "model" "url" "" .Values.settings) -}}
{{- range dig "servers" dict .Values.settings }}
{{- $urls = append $urls .url }}
{{- end }}
{{- $ports := list }}
{{- range compact $urls }}
{{- $ports = append $ports (include "outlast.port" .) }}
{{- end }}
{{- range uniq $ports }}
{{ include "outlast.rule" (list "to" . $.Values.networkPolicy.modelPeers) }}
{{- end }}
{{- end }}

{{/* Ports of the webhooks that tell people. */}}
{{- define "outlast.webhookEgress" -}}
{{- $ports := list }}
{{- range dig "audiences" dict .Values.settings }}
{{- with .webhook }}
{{- $ports = append $ports (include "outlast.port" .) }}
{{- end }}
{{- end }}
{{- range uniq $ports }}
{{ include "outlast.rule" (list "to" . list) }}
{{- end }}
{{- end }}
