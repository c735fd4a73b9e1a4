{{/* A rule of egress or ingress to a port: (list "to" or "from", port, peers). */}}
{{- define "outlast.rule" -}}
- ports: [{protocol: TCP, port: {{ index . 1 }}}]
{{- with index . 2 }}
  {{ index $ 0 }}: {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{/* Rules to several ports: (list "to" or "from", ports, peers). */}}
{{- define "outlast.rules" -}}
{{- $side := index . 0 -}}
{{- $peers := index . 2 -}}
{{- range index . 1 }}
{{ include "outlast.rule" (list $side . $peers) }}
{{- end }}
{{- end }}

{{- define "outlast.dnsEgress" -}}
- ports:
{{- range .Values.networkPolicy.ports.dns }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every process of ours asks: names, Temporal, the collector. */}}
{{- define "outlast.commonEgress" -}}
{{- $policy := .Values.networkPolicy -}}
{{ include "outlast.dnsEgress" . }}
{{- include "outlast.rules" (list "to" ($policy.ports.temporal | default (list (include "outlast.port" .Values.temporal.address))) $policy.temporalPeers) }}
{{- with .Values.settings.otlp_endpoint }}
{{- include "outlast.rules" (list "to" ($policy.ports.otlp | default (list (include "outlast.port" .))) $policy.otlpPeers) }}
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
{{- with .Values.networkPolicy }}
{{- include "outlast.rules" (list "to" (.ports.model | default (uniq $ports)) .modelPeers) }}
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
{{- include "outlast.rules" (list "to" (.Values.networkPolicy.ports.webhook | default (uniq $ports)) list) }}
{{- end }}
