package containerapp

import "encoding/json"

// The model of a container app as clients write and read it. Members without a
// meaning here are kept and shown as they are.
type (
	// Properties is what clients can set of a container app.
	Properties struct {
		EnvironmentID        string         `json:"environmentId"`
		ManagedEnvironmentID string         `json:"managedEnvironmentId"`
		WorkloadProfile      *string        `json:"workloadProfileName"`
		Configuration        *Configuration `json:"configuration"`
		Template             *Template      `json:"template"`
	}

	// Configuration is what changes without a new revision.
	Configuration struct {
		Secrets           []Secret          `json:"secrets"`
		Mode              Mode              `json:"activeRevisionsMode"`
		Ingress           *Ingress          `json:"ingress"`
		Registries        []Registry        `json:"registries"`
		IdentitySettings  []IdentitySetting `json:"identitySettings"`
		MaxInactive       *int              `json:"maxInactiveRevisions"`
		Dapr              json.RawMessage   `json:"dapr"`
		Service           json.RawMessage   `json:"service"`
		Runtime           json.RawMessage   `json:"runtime,omitempty"`
		TransitionPercent json.RawMessage   `json:"revisionTransitionThreshold,omitempty"`
	}

	// Secret is a secret by value, or by the address of one in a vault with the
	// identity that reads it. Value is never in what is read.
	Secret struct {
		Name        string  `json:"name"`
		Value       *string `json:"value,omitempty"`
		KeyVaultURL string  `json:"keyVaultUrl,omitempty"`
		Identity    string  `json:"identity,omitempty"`
	}

	// Registry is where images are pulled from, and by which right.
	Registry struct {
		Server            string `json:"server"`
		Username          string `json:"username"`
		PasswordSecretRef string `json:"passwordSecretRef"`
		Identity          string `json:"identity"`
	}

	// IdentitySetting is the lifecycle of one identity.
	IdentitySetting struct {
		Identity  string `json:"identity"`
		Lifecycle string `json:"lifecycle"`
	}

	// Ingress is how requests come to the app.
	Ingress struct {
		External              bool            `json:"external"`
		TargetPort            int             `json:"targetPort"`
		ExposedPort           int             `json:"exposedPort"`
		Transport             string          `json:"transport"`
		Traffic               []Traffic       `json:"traffic"`
		AllowInsecure         bool            `json:"allowInsecure"`
		CustomDomains         json.RawMessage `json:"customDomains"`
		IPRestrictions        json.RawMessage `json:"ipSecurityRestrictions"`
		StickySessions        *StickySessions `json:"stickySessions"`
		ClientCertificateMode string          `json:"clientCertificateMode,omitempty"`
		CORS                  json.RawMessage `json:"corsPolicy"`
		AdditionalPorts       json.RawMessage `json:"additionalPortMappings,omitempty"`
		TargetScheme          string          `json:"targetPortHttpScheme,omitempty"`
	}

	// StickySessions says whether clients stay with a replica.
	StickySessions struct {
		Affinity string `json:"affinity"` // none or sticky
	}

	// Traffic is a share of requests, of a revision or of the latest one.
	Traffic struct {
		RevisionName   string `json:"revisionName,omitempty"`
		LatestRevision bool   `json:"latestRevision,omitempty"`
		Weight         int    `json:"weight"` // percent
		Label          string `json:"label,omitempty"`
	}

	// Template is what a revision is made from.
	Template struct {
		RevisionSuffix   string          `json:"revisionSuffix"`
		TerminationGrace *int            `json:"terminationGracePeriodSeconds"` // seconds
		Containers       []Container     `json:"containers"`
		InitContainers   []Container     `json:"initContainers"`
		Scale            *Scale          `json:"scale"`
		Volumes          []Volume        `json:"volumes"`
		ServiceBinds     json.RawMessage `json:"serviceBinds"`
	}

	// Container is one container of a replica. Init containers have no probes.
	Container struct {
		Image        string        `json:"image"`
		Name         string        `json:"name"`
		Command      []string      `json:"command,omitempty"`
		Args         []string      `json:"args,omitempty"`
		Env          []EnvVar      `json:"env,omitempty"`
		Resources    *Resources    `json:"resources"`
		Probes       []Probe       `json:"probes,omitempty"`
		VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
	}

	// EnvVar is a variable by value or from a secret.
	EnvVar struct {
		Name      string `json:"name"`
		Value     string `json:"value,omitempty"`
		SecretRef string `json:"secretRef,omitempty"`
	}

	// Resources is what a container may use.
	Resources struct {
		CPU              float64 `json:"cpu"`    // cores
		Memory           string  `json:"memory"` // such as "1Gi"
		EphemeralStorage string  `json:"ephemeralStorage,omitempty"`
	}

	// Probe says how a container is asked whether it is well. Times are in seconds.
	Probe struct {
		Type                          string     `json:"type"`
		HTTPGet                       *HTTPGet   `json:"httpGet,omitempty"`
		TCPSocket                     *TCPSocket `json:"tcpSocket,omitempty"`
		InitialDelaySeconds           int        `json:"initialDelaySeconds,omitempty"`
		PeriodSeconds                 int        `json:"periodSeconds,omitempty"`
		TimeoutSeconds                int        `json:"timeoutSeconds,omitempty"`
		SuccessThreshold              int        `json:"successThreshold,omitempty"`
		FailureThreshold              int        `json:"failureThreshold,omitempty"`
		TerminationGracePeriodSeconds int        `json:"terminationGracePeriodSeconds,omitempty"`
	}

	// HTTPGet asks over HTTP.
	HTTPGet struct {
		Path    string       `json:"path,omitempty"`
		Port    int          `json:"port"`
		Host    string       `json:"host,omitempty"`
		Scheme  string       `json:"scheme,omitempty"` // HTTP or HTTPS
		Headers []HTTPHeader `json:"httpHeaders,omitempty"`
	}

	// HTTPHeader is a header of an HTTPGet.
	HTTPHeader struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}

	// TCPSocket asks by connecting.
	TCPSocket struct {
		Port int    `json:"port"`
		Host string `json:"host,omitempty"`
	}

	// VolumeMount puts a volume into a container.
	VolumeMount struct {
		VolumeName string `json:"volumeName"`
		MountPath  string `json:"mountPath"`
		SubPath    string `json:"subPath,omitempty"`
	}

	// Volume is storage that containers of a replica can mount.
	Volume struct {
		Name         string         `json:"name"`
		StorageType  string         `json:"storageType"`
		StorageName  string         `json:"storageName,omitempty"`
		MountOptions string         `json:"mountOptions,omitempty"`
		Secrets      []SecretAsFile `json:"secrets,omitempty"` // none are all
	}

	// SecretAsFile is a secret in a volume.
	SecretAsFile struct {
		SecretRef string `json:"secretRef"`
		Path      string `json:"path,omitempty"` // "" is the secret's name
	}

	// Scale is how many replicas there are. Times are in seconds.
	Scale struct {
		MinReplicas     *int        `json:"minReplicas"`
		MaxReplicas     *int        `json:"maxReplicas"`
		CooldownPeriod  *int        `json:"cooldownPeriod"`
		PollingInterval *int        `json:"pollingInterval"`
		Rules           []ScaleRule `json:"rules"`
	}

	// ScaleRule is one reason to have more replicas: exactly one member besides the
	// name is set.
	ScaleRule struct {
		Name       string      `json:"name"`
		HTTP       *HTTPRule   `json:"http,omitempty"`
		TCP        *HTTPRule   `json:"tcp,omitempty"`
		AzureQueue *QueueRule  `json:"azureQueue,omitempty"`
		Custom     *CustomRule `json:"custom,omitempty"`
	}

	// HTTPRule counts requests, or connections, at a time.
	HTTPRule struct {
		Metadata map[string]string `json:"metadata,omitempty"`
		Auth     []ScaleAuth       `json:"auth,omitempty"`
		Identity string            `json:"identity,omitempty"`
	}

	// QueueRule counts messages of a storage queue.
	QueueRule struct {
		AccountName string      `json:"accountName,omitempty"`
		QueueName   string      `json:"queueName"`
		QueueLength int         `json:"queueLength"`
		Auth        []ScaleAuth `json:"auth,omitempty"`
		Identity    string      `json:"identity,omitempty"`
	}

	// CustomRule is a KEDA scaler.
	CustomRule struct {
		Type     string            `json:"type"`
		Metadata map[string]string `json:"metadata,omitempty"`
		Auth     []ScaleAuth       `json:"auth,omitempty"`
		Identity string            `json:"identity,omitempty"`
	}

	// ScaleAuth gives a scaler a secret.
	ScaleAuth struct {
		SecretRef        string `json:"secretRef"`
		TriggerParameter string `json:"triggerParameter"`
	}
)

// Mode says how many revisions can be active.
type Mode string

// Modes.
const (
	Single   Mode = "Single"
	Multiple Mode = "Multiple"
)
