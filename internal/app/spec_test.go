package app_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestWrongTypesNameTheMember(t *testing.T) {
	for body, says := range map[string]string{
		`[]`:                   "the body must be an object",
		`{"location":1}`:       "member 'location' must be text",
		`{"tags":{"a":1}}`:     "member 'tags.a' must be text",
		`{"tags":{"a<b":"x"}}`: `tag "a<b"`,
		`{"location":"a/b"}`:   "location",
		`{"kind":"a/b"}`:       "kind",
		`{"location":"` + strings.Repeat("é", 91) + `"}`: "member 'location'",
		`{"properties":[]}`:                                                                                         "member 'properties' must be an object",
		`{"identity":"System"}`:                                                                                     "member 'identity' must be an object",
		`{"properties":{"httpsonly":"yes"}}`:                                                                        "member 'properties.httpsOnly' must be true or false",
		`{"properties":{"dailyMemoryTimeQuota":"1"}}`:                                                               "member 'properties.dailyMemoryTimeQuota' must be a number",
		`{"properties":{"siteConfig":[]}}`:                                                                          "member 'properties.siteConfig' must be an object",
		`{"properties":{"siteConfig":{"alwaysOn":1}}}`:                                                              "member 'properties.siteConfig.alwaysOn' must be true or false",
		`{"properties":{"siteConfig":{"appSettings":{}}}}`:                                                          "member 'properties.siteConfig.appSettings' must be a list",
		`{"properties":{"siteConfig":{"appSettings":[1]}}}`:                                                         "appSettings[0]' must be an object",
		`{"properties":{"siteConfig":{"appSettings":[{"name":"A","value":5}]}}}`:                                    "appSettings[0].value' must be text",
		`{"properties":{"siteConfig":{"appSettings":[{"value":"x"}]}}}`:                                             "empty",
		`{"properties":{"siteConfig":{"appSettings":[{"name":"A"},{"name":"A"}]}}}`:                                 `names "A" twice`,
		`{"properties":{"siteConfig":{"connectionStrings":[{"name":"A","type":"Oracle"}]}}}`:                        `unknown type "Oracle"`,
		`{"properties":{"functionAppConfig":` + strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 101) + `}`: "deeper",
		`{"properties":{"workloadProfileName":"` + strings.Repeat("x", app.MaxProperties) + `"}}`:                   "more than the limit",
	} {
		_, err := app.ParseSite([]byte(body))
		if !errors.Is(err, problem.Invalid) && !errors.Is(err, problem.TooLarge) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.100s: %v", body, err)
		}
	}
}

func TestReadOnlyAndUnknownMembersAreLeftOut(t *testing.T) {
	s, err := app.ParseSite([]byte(`{"id":"x","name":"y","location":"West Europe","properties":{"STATE":"Stopped","defaultHostName":"h","HttpsOnly":true,
		"inProgressOperationId":null,"virtualNetworkSubnetId":null,"siteConfig":{"machineKey":{},"numberOfWorkers":1,"appSettings":null}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Properties) != 2 || string(s.Properties["httpsOnly"]) != "true" || string(s.Properties["virtualNetworkSubnetId"]) != "null" {
		t.Errorf("properties %s", s.Properties)
	}
	if len(s.Web.Members) != 1 || s.Web.Settings != nil || s.Web.Connections != nil {
		t.Errorf("configuration %+v", s.Web)
	}
}

func FuzzParseSite(f *testing.F) {
	f.Add([]byte(`{"location":"l","kind":"functionapp","tags":{"a":"b"},"identity":{"type":"None"},"properties":{"httpsOnly":true,"siteConfig":{"appSettings":[{"name":"A","value":"b"}],"connectionStrings":[{"name":"C","connectionString":"x","type":"Custom"}]}}}`))
	f.Add([]byte(`{"properties":{"functionAppConfig":{"a":{"b":[1,{"c":null}]}}}}`))
	f.Add([]byte(`{"sku":{"name":"Y1"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := app.ParseSite(body)
		if err != nil {
			if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge {
				t.Errorf("%q: %v is of kind %v", body, err, k)
			}
			return
		}
		for name, value := range s.Properties {
			if !json.Valid(value) || name == "siteConfig" {
				t.Errorf("%s is %q", name, value)
			}
		}
		if err := app.CheckSettings(s.Web.Settings); err != nil {
			t.Errorf("settings that cannot be stored were taken: %v", err)
		}
		_, _ = app.ParsePlan(body)
		_, _ = app.ParseWeb(body)
		_, _ = app.ParseTexts(body)
		_, _ = app.ParseConnections(body)
	})
}
