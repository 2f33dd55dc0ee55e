package kubeapi

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/problem"
)

// Access says how to get to the API server. Of a value and the file with it the
// file counts; files are read again for each request, because Kubernetes replaces
// them while programs run.
type Access struct {
	// Server is the API server's https address; http is for this machine only.
	Server string
	// Namespace is where the object is; NamespaceFile has it otherwise.
	Namespace     string
	NamespaceFile string
	// CA has the certificates, PEM, that the server's must come from; with neither,
	// those of the system count. ServerName is the name to expect in the server's
	// certificate, "" for that in Server.
	CA         []byte
	CAFile     string
	ServerName string
	// Token is a bearer token; it is not needed with a certificate.
	Token     string
	TokenFile string
	// Cert and Key are a client's certificate and its key, PEM.
	Cert, Key         []byte
	CertFile, KeyFile string
}

// ServiceAccount is where a pod has its account.
const ServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster gives a pod's access, with the account in a folder.
func InCluster(setting func(string) string, account string) (Access, error) {
	host, port := setting("KUBERNETES_SERVICE_HOST"), setting("KUBERNETES_SERVICE_PORT_HTTPS")
	if port == "" {
		port = setting("KUBERNETES_SERVICE_PORT")
	}
	if host == "" || port == "" {
		return Access{}, problem.New(problem.Invalid, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT_HTTPS do not say where the API server is").
			WithNext("run in a pod, or set KUBECONFIG to a kubeconfig file")
	}
	return Access{
		Server:        "https://" + net.JoinHostPort(host, port),
		NamespaceFile: filepath.Join(account, "namespace"),
		CAFile:        filepath.Join(account, "ca.crt"),
		TokenFile:     filepath.Join(account, "token"),
	}, nil
}

// Find gives the access of KUBECONFIG's current context if that is set, else that of
// the pod. It returns problem.Invalid, naming the setting, for what is wrong, and
// problem.Unsupported for ways to log in that are not there.
func Find(setting func(string) string) (Access, error) {
	a, err := Access{}, error(nil)
	if file := setting("KUBECONFIG"); file != "" {
		a, err = FromKubeconfig(file)
	} else {
		a, err = InCluster(setting, ServiceAccount)
	}
	if err == nil {
		err = a.Check()
	}
	return a, err
}

// kubeconfig is what is used of a kubeconfig file. Names are as in the file.
type kubeconfig struct {
	Current  string `json:"current-context"`
	Contexts []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster   string `json:"cluster"`
			User      string `json:"user"`
			Namespace string `json:"namespace"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string  `json:"name"`
		Cluster cluster `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User user   `json:"user"`
	} `json:"users"`
}

type cluster struct {
	Server     string `json:"server"`
	CAFile     string `json:"certificate-authority"`
	CA         string `json:"certificate-authority-data"`
	ServerName string `json:"tls-server-name"`
	Insecure   bool   `json:"insecure-skip-tls-verify"`
	Proxy      string `json:"proxy-url"`
}

type user struct {
	Token     string `json:"token"`
	TokenFile string `json:"tokenFile"`
	Cert      string `json:"client-certificate-data"`
	CertFile  string `json:"client-certificate"`
	Key       string `json:"client-key-data"`
	KeyFile   string `json:"client-key"`
	Name      string `json:"username"`
	Exec      any    `json:"exec"`
	Provider  any    `json:"auth-provider"`
}

// FromKubeconfig gives the access of a kubeconfig file's current context. Errors
// name no content of the file but names.
func FromKubeconfig(path string) (Access, error) {
	if strings.ContainsRune(path, filepath.ListSeparator) {
		return Access{}, problem.New(problem.Unsupported, "KUBECONFIG names several files").WithNext("name one file that has all that is needed")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Access{}, problem.Wrap(problem.Invalid, "the file that KUBECONFIG names cannot be read", err)
	}
	a, err := parseKubeconfig(data)
	if err != nil {
		return Access{}, fmt.Errorf("KUBECONFIG=%s: %w", path, err)
	}
	for _, file := range []*string{&a.CAFile, &a.TokenFile, &a.CertFile, &a.KeyFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(filepath.Dir(path), *file)
		}
	}
	return a, nil
}

func parseKubeconfig(data []byte) (Access, error) {
	var k kubeconfig
	if yaml.Unmarshal(data, &k) != nil { // its error may quote a token
		return Access{}, problem.New(problem.Invalid, "this is not a kubeconfig file")
	}
	for _, c := range k.Contexts {
		if c.Name != k.Current {
			continue
		}
		cl, u, err := k.find(c.Context.Cluster, c.Context.User)
		if err != nil {
			return Access{}, err
		}
		a, err := access(cl, u)
		if a.Namespace = c.Context.Namespace; a.Namespace == "" {
			a.Namespace = "default"
		}
		return a, err
	}
	return Access{}, problem.New(problem.Invalid, fmt.Sprintf("there is no context %q, which current-context names", k.Current)).
		WithNext("choose one with kubectl config use-context")
}

func (k kubeconfig) find(clusterName, userName string) (cluster, user, error) {
	for _, c := range k.Clusters {
		if c.Name != clusterName {
			continue
		}
		for _, u := range k.Users {
			if u.Name == userName {
				return c.Cluster, u.User, nil
			}
		}
		return cluster{}, user{}, problem.New(problem.Invalid, fmt.Sprintf("there is no user %q", userName))
	}
	return cluster{}, user{}, problem.New(problem.Invalid, fmt.Sprintf("there is no cluster %q", clusterName))
}

func access(c cluster, u user) (Access, error) {
	for what, is := range map[string]bool{
		"insecure-skip-tls-verify": c.Insecure, "proxy-url": c.Proxy != "",
		"exec": u.Exec != nil, "auth-provider": u.Provider != nil, "username": u.Name != "",
	} {
		if is {
			return Access{}, problem.New(problem.Unsupported, what+" is not supported").
				WithNext("use a token, a tokenFile or a client certificate, and the certificate authority of the cluster")
		}
	}
	a := Access{
		Server: c.Server, CAFile: c.CAFile, ServerName: c.ServerName,
		Token: u.Token, TokenFile: u.TokenFile, CertFile: u.CertFile, KeyFile: u.KeyFile,
	}
	for field, x := range map[string]struct {
		text string
		into *[]byte
	}{"certificate-authority-data": {c.CA, &a.CA}, "client-certificate-data": {u.Cert, &a.Cert}, "client-key-data": {u.Key, &a.Key}} {
		data, err := base64.StdEncoding.DecodeString(x.text)
		if err != nil {
			return Access{}, problem.New(problem.Invalid, field+" is not base64")
		}
		*x.into = data
	}
	return a, nil
}

// Check refuses what cannot work or would send a token in clear.
func (a Access) Check() error {
	u, err := url.Parse(a.Server)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http":
		return problem.New(problem.Invalid, "the address of the API server is not an https address")
	case u.Scheme == "http" && !local(u.Hostname()):
		return problem.New(problem.Invalid, "the address of the API server must be https").WithNext("http is for servers on this machine only")
	case a.NamespaceFile == "" && !IsLabel(a.Namespace):
		return problem.New(problem.Invalid, fmt.Sprintf("%q is no name of a namespace", a.Namespace))
	}
	return nil
}

// IsSubdomain reports whether Kubernetes takes a name for an object.
func IsSubdomain(name string) bool {
	if len(name) > 253 {
		return false
	}
	for part := range strings.SplitSeq(name, ".") {
		if !IsLabel(part) {
			return false
		}
	}
	return true
}

// IsLabel reports whether Kubernetes takes a name for a namespace. Parts of other
// names follow the same rule, but for their length, which is that of the whole.
func IsLabel(part string) bool {
	return part != "" && strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		!strings.HasPrefix(part, "-") && !strings.HasSuffix(part, "-")
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
