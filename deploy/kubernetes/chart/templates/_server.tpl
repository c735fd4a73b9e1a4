{{/* The Deployment of a command of ours that serves HTTP: (dict root part values args env ports probe hasToken
     volumes mounts isStateful). isStateful: a StatefulSet, whose pods have names that others can call. Without ports it has no Service. `part` is that of outlast.settings, or pods. */}}
{{- define "outlast.serverDeployment" -}}
{{- $root := .root -}}
{{- $name := printf "%s-%s" (include "outlast.fullname" $root) .part -}}
{{- $values := .values -}}
{{- $settings := ternary "demand" .part (eq .part "pods") -}}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" (default false .isStateful) }}
metadata:
  name: {{ $name }}
  labels: {{- include "outlast.labels" (list $root $name) | nindent 4 }}
  {{- with $root.Values.deploymentAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  replicas: {{ $values.replicas }}
  revisionHistoryLimit: 3
  {{- if .isStateful }}
  serviceName: {{ $name }}-pods
  podManagementPolicy: Parallel
  {{- end }}
  selector:
    matchLabels: {{- include "outlast.selector" (list $root $name) | nindent 6 }}
  template:
    metadata:
      labels: {{- include "outlast.selector" (list $root $name) | nindent 8 }}
      annotations:
        outlast.dev/settings: {{ include "outlast.settings" (list $root $settings) | sha256sum | trunc 16 | quote }}
        {{- include "outlast.secretsRevision" $root | nindent 8 }}
    spec:
      {{- include "outlast.podCommon" (dict
          "root" $root "component" $name "serviceAccount" $name "priority" "" "grace" 30) | nindent 6 }}
      containers:
        - name: {{ .part }}
          image: {{ include "outlast.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{ toYaml .args | nindent 12 }}
          env:
            {{- include "outlast.temporalEnv" $root | nindent 12 }}
            - {name: OUTLAST_CONFIG, value: /etc/outlast/outlast.toml}
            {{- with .env }}
            {{- . | trim | nindent 12 }}
            {{- end }}
          {{- with .ports }}
          ports:
            {{- range $port, $number := . }}
            - {name: {{ $port }}, containerPort: {{ $number }}}
            {{- end }}
          {{- end }}
          {{- if .ports }}
          # Services need this long to stop sending requests here.
          lifecycle: {preStop: {sleep: {seconds: 5}}}
          {{- end }}
          startupProbe:
            {{- toYaml .probe | nindent 12 }}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            {{- toYaml .probe | nindent 12 }}
            periodSeconds: 5
            timeoutSeconds: 2
          livenessProbe:
            {{- toYaml .probe | nindent 12 }}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources: {{- toYaml $values.resources | nindent 12 }}
          securityContext: {{- include "outlast.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "outlast.volumeMounts" $root | nindent 12 }}
            {{- with .mounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- if .hasToken }}
            - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
            {{- end }}
      volumes:
        {{- include "outlast.volumes" (list $root $settings) | nindent 8 }}
        {{- with .volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
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
{{- if .ports }}
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
{{- end }}
{{- if .isStateful }}
---
# Gives each pod a name of its own.
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}-pods
  labels: {{- include "outlast.labels" (list $root $name) | nindent 4 }}
spec:
  clusterIP: None
  selector: {{- include "outlast.selector" (list $root $name) | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - {name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }}}
    {{- end }}
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
