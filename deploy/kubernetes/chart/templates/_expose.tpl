{{/* The name under which clients reach a part: (dict root part). */}}
{{- define "outlast.exposedHost" -}}
{{- $host := (get .root.Values .part).expose.host -}}
{{- if and (not $host) (eq .part "callback") -}}
{{- $host = (dig "callback" "url" "" .root.Values.settings | urlParse).host | splitList ":" | first -}}
{{- end -}}
{{- $host -}}
{{- end }}

{{/* The Ingress or HTTPRoute of a part: (dict root part port). */}}
{{- define "outlast.exposed" -}}
{{- $name := printf "%s-%s" (include "outlast.fullname" .root) .part -}}
{{- $host := include "outlast.exposedHost" . -}}
{{- $expose := (get .root.Values .part).expose -}}
{{- if ne $expose.kind "none" }}
---
apiVersion: {{ ternary "networking.k8s.io/v1" "gateway.networking.k8s.io/v1" (eq $expose.kind "Ingress") }}
kind: {{ $expose.kind }}
metadata:
  name: {{ $name }}
  labels: {{- include "outlast.labels" (list .root $name) | nindent 4 }}
  {{- with $expose.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if eq $expose.kind "Ingress" }}
  {{- with $expose.className }}
  ingressClassName: {{ . }}
  {{- end }}
  tls:
    - hosts: [{{ $host }}]
      {{- with $expose.tlsSecret }}
      secretName: {{ . }}
      {{- end }}
  rules:
    - host: {{ $host }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: {{ $name }}, port: {number: {{ .port }}}}}
  {{- else }}
  parentRefs: {{- toYaml $expose.parentRefs | nindent 4 }}
  hostnames: [{{ $host }}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /}}]
      backendRefs: [{name: {{ $name }}, port: {{ .port }}}]
  {{- end }}
{{- end }}
{{- end }}
