{{/* The Deployment of a command of ours that serves HTTP: (dict root part args env ports liveness readiness
     hasToken). */}}
{{- define "outlast.serverDeployment" -}}
{{- $root := .root -}}
{{- $name := printf "%s-%s" (include "outlast.fullname" $root) .part -}}
{{- $values := get $root.Values .part -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels: {{- include "outlast.labels" (list $root $name) | nindent 4 }}
spec:
  replicas: {{ $values.replicas }}
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{- include "outlast.selector" (list $root $name) | nindent 6 }}
  template:
    metadata:
      labels: {{- include "outlast.selector" (list $root $name) | nindent 8 }}
      annotations:
        outlast.dev/settings: {{ include "outlast.settings" (list $root .part) | sha256sum | trunc 16 | quote }}
    spec:
      {{- include "outlast.podCommon" (dict
          "root" $root "component" $name "serviceAccount" $name "priority" "" "grace" 30) | nindent 6 }}
      containers:
        - name: {{ .part }}
          image: {{ include "outlast.image" (list $root $root.Values.image.tag) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{ toYaml .args | nindent 12 }}
          env:
            {{- include "outlast.temporalEnv" $root | nindent 12 }}
            - {name: OUTLAST_CONFIG, value: /etc/outlast/outlast.toml}
            {{- with .env }}
            {{- . | trim | nindent 12 }}
            {{- end }}
          ports:
            {{- range $port, $number := .ports }}
            - {name: {{ $port }}, containerPort: {{ $number }}}
            {{- end }}
          startupProbe:
            {{- toYaml .liveness | nindent 12 }}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            {{- toYaml .readiness | nindent 12 }}
            periodSeconds: 5
            timeoutSeconds: 2
          livenessProbe:
            {{- toYaml .liveness | nindent 12 }}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources: {{- toYaml $values.resources | nindent 12 }}
          securityContext: {{- include "outlast.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "outlast.volumeMounts" $root | nindent 12 }}
            {{- if .hasToken }}
            - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
            {{- end }}
      volumes:
        {{- include "outlast.volumes" (list $root .part $root.Values.image.tag) | nindent 8 }}
        {{- if .hasToken }}
        # As Kubernetes mounts it by itself where automountServiceAccountToken is true.
        - name: token
          projected:
            defaultMode: 0440
            sources:
              - serviceAccountToken: {path: token, expirationSeconds: 3600}
              - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
              - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
        {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels: {{- include "outlast.labels" (list $root $name) | nindent 4 }}
spec:
  selector: {{- include "outlast.selector" (list $root $name) | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - {name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }}}
    {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels: {{- include "outlast.labels" (list $root $name) | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "outlast.selector" (list $root $name) | nindent 6 }}
{{- end }}
