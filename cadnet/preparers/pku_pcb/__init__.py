"""PKU-Market-PCB (Huang et al. 2020, doi 10.1049/joe.2019.1183) as a prepared dataset."""
