package codec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/problem"
)

// TestDocumentsOfAnotherAppAreRefused: by both names; what cannot be told apart for
// certain is taken for the app's own.
func TestDocumentsOfAnotherAppAreRefused(t *testing.T) {
	tests := map[string]struct {
		cfg      codec.Config
		hostName string
		owner    string // whose it is; "" for a document that is read
	}{
		"another app's":              {codec.Config{App: "orders"}, `"billing.azurewebsites.net"`, "billing"},
		"in other case":              {codec.Config{App: "Orders"}, `"ORDERS.AzureWebSites.net"`, ""},
		"its own":                    {codec.Config{App: "orders"}, `"orders.azurewebsites.net"`, ""},
		"of its slot":                {codec.Config{App: "orders"}, `"orders-staging.azurewebsites.net"`, "orders-staging"},
		"with region":                {codec.Config{App: "orders"}, `"orders-a1b2c3d4e5f6a7b8.westeurope-01.azurewebsites.net"`, ""},
		"another's with region":      {codec.Config{App: "orders"}, `"billing-a1b2c3d4e5f6a7b8.westeurope-01.azurewebsites.net"`, "billing"},
		"cut off by the platform":    {codec.Config{App: strings.Repeat("a", 59)}, `"` + strings.Repeat("a", 43) + `-a1b2c3d4e5f6a7b8.westeurope-01.azurewebsites.net"`, ""},
		"of another cloud":           {codec.Config{App: "orders"}, `"billing.azurewebsites.us"`, "billing"},
		"by host names only":         {codec.Config{HostName: "orders.azurewebsites.net"}, `"billing.azurewebsites.net"`, "billing"},
		"of an installation":         {codec.Config{App: "orders", HostName: "orders.fn.example:7071"}, `"billing.fn.example"`, "billing"},
		"by address":                 {codec.Config{App: "orders"}, `"10.0.0.7:8080"`, ""},
		"of a machine":               {codec.Config{App: "orders"}, `"localhost:7071"`, ""},
		"custom domain, its own":     {codec.Config{App: "orders", HostName: "api.example.com"}, `"api.example.com:443"`, ""},
		"custom domain, another":     {codec.Config{App: "orders", HostName: "api.example.com"}, `"www.example.com"`, ""},
		"custom domain, moved there": {codec.Config{App: "orders", HostName: "api.example.com"}, `"orders.azurewebsites.net"`, ""},
		"it is not known whose":      {codec.Config{App: "orders"}, `null`, ""},
		"no text":                    {codec.Config{App: "orders"}, `7`, ""},
		"app that is not known":      {codec.Config{}, `"billing.azurewebsites.net"`, ""},
		"taken over":                 {codec.Config{App: "orders", TakeOver: "Billing"}, `"billing.azurewebsites.net"`, ""},
		"taken over by host name":    {codec.Config{App: "orders", TakeOver: "billing.azurewebsites.net"}, `"billing.azurewebsites.net"`, ""},
		"another one is taken over":  {codec.Config{App: "orders", TakeOver: "shop"}, `"billing.azurewebsites.net"`, "billing"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text := `{"keys":[{"name":"default","value":"v","encrypted":false}],"hostName":` + tt.hostName + `}`
			d, err := codec.New(tt.cfg).Decode("hello", []byte(text))
			if tt.owner == "" {
				if err != nil || len(d.Keys.Keys) != 1 {
					t.Errorf("%+v %v", d, err)
				}
				return
			}
			if !errors.Is(err, problem.Conflict) || !strings.Contains(err.Error(), `"`+tt.owner+`"`) || !strings.Contains(err.Error(), `this is app "orders"`) ||
				!strings.Contains(problem.NextOf(err), codec.TakeOverSetting+"="+tt.owner) || len(d.Keys.Keys) != 0 {
				t.Errorf("%v (next: %s)", err, problem.NextOf(err))
			}
		})
	}
}

// TestATakenOverDocumentBecomesTheAppsOwn: once it is written, the setting is no
// longer needed.
func TestATakenOverDocumentBecomesTheAppsOwn(t *testing.T) {
	cfg := codec.Config{App: "orders", HostName: "orders.azurewebsites.net", TakeOver: "billing"}
	d, err := codec.New(cfg).Decode("hello", []byte(`{"keys":[{"name":"default","value":"v"}],"hostName":"billing.azurewebsites.net"}`))
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := codec.New(cfg).Encode("hello", d)
	if err != nil {
		t.Fatal(err)
	}
	cfg.TakeOver = ""
	if _, err := codec.New(cfg).Decode("hello", text); err != nil {
		t.Error(err)
	}
}
