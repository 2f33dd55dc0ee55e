package containerapp_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/latchkey/latchkey/internal/containerapp"
)

func TestWherePortsComeFrom(t *testing.T) {
	http, tcp := containerapp.Probe{Type: "Readiness", HTTPGet: &containerapp.HTTPGet{Port: 81}}, containerapp.Probe{Type: "Startup", TCPSocket: &containerapp.TCPSocket{Port: 82}}
	template := func(c ...containerapp.Container) containerapp.Template { return containerapp.Template{Containers: c} }
	port := []containerapp.EnvVar{{Name: "PORT", Value: "83"}}
	for name, tt := range map[string]struct {
		ingress *containerapp.Ingress
		of      containerapp.Template
		want    []int
	}{
		"no ingress":                    {nil, template(containerapp.Container{Probes: []containerapp.Probe{http}}), nil},
		"said":                          {&containerapp.Ingress{TargetPort: 80}, template(containerapp.Container{Probes: []containerapp.Probe{http}, Env: port}), []int{80}},
		"the first probe":               {&containerapp.Ingress{}, template(containerapp.Container{Probes: []containerapp.Probe{{}, tcp, http}}), []int{82}},
		"a variable":                    {&containerapp.Ingress{}, template(containerapp.Container{Probes: []containerapp.Probe{http}, Env: port}), []int{83}},
		"a variable that is no port":    {&containerapp.Ingress{}, template(containerapp.Container{Probes: []containerapp.Probe{http}, Env: []containerapp.EnvVar{{Name: "PORT", Value: "http"}}}), []int{81}},
		"only the first container":      {&containerapp.Ingress{}, template(containerapp.Container{}, containerapp.Container{Probes: []containerapp.Probe{http}}), nil},
		"no container":                  {&containerapp.Ingress{}, template(), nil},
		"more ports, each once":         {&containerapp.Ingress{TargetPort: 80, AdditionalPorts: json.RawMessage(`[{"targetPort":90,"exposedPort":91},{"targetPort":80},{"targetPort":90},{"targetPort":0}]`)}, template(), []int{80, 90}},
		"more ports are not understood": {&containerapp.Ingress{TargetPort: 80, AdditionalPorts: json.RawMessage(`{}`)}, template(), []int{80}},
	} {
		if got := tt.ingress.Ports(tt.of); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}
